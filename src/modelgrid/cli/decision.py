"""How a scheduling decision is shown: the need term by term, then each GPU with its reason in numbers."""

from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from modelgrid.cli.output import LONGEST_MESSAGE, console, counted, paragraph, print_json, short, show
from modelgrid.domain.units import format_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from modelgrid.client.views import Decision, MemoryNeed, Preview


def show_preview(preview: "Preview", *, as_json: bool) -> None:
    """Print where a wish would land, with every GPU that was looked at."""
    if as_json:
        print_json(preview)
        return
    if not preview["decisions"]:
        show(f"{short(preview['model'])}: nothing would change.")
    need: MemoryNeed | None = None
    for decision, same in groupby(preview["decisions"]):
        show_decision(decision, terms=decision["need"] != need)
        need = decision["need"]
        if others := len(list(same)) - 1:
            show(f"  The same holds for {counted(others, 'more replica')}.")


def show_refusal(decisions: "Sequence[Decision]", to: Console) -> None:
    """Print, of decisions about the replicas of one target, how many found no place, and why the first of them did."""
    if refused := [decision for decision in decisions if decision["node"] is None]:
        first = refused[0]
        paragraph(f"No place yet for {counted(len(refused), 'replica')}: {first['summary']}", hang=2, to=to)
        show_decision(first, to=to, summary=False)


def show_decision(decision: "Decision", to: Console = console, *, summary: bool = True, terms: bool = True) -> None:
    """Print one scheduling decision; `summary` leads with its one sentence, `terms` shows the need term by term."""
    placed = decision["node"] is not None
    mark, style = ("●", "green") if placed else ("✕", "red")
    if summary:
        paragraph(f"{mark} {decision['summary']}", hang=2, style=style, to=to)
    needed = decision["need"]["terms"] if terms else []
    gpus = decision["need"]["gpu_count"]
    total = sum(term["bytes"] for term in needed)
    per = "needed of the host's memory" if gpus == 0 else "needed on each GPU" if gpus > 1 else "needed on the GPU"
    if needed:
        show(Text(f"  {format_bytes(total):>9}  ").append(per, style="bold"), to=to)
        widest = max(len(short(term["name"])) for term in needed)
        for term in needed:
            line = Text(f"  {format_bytes(term['bytes']):>9}  {short(term['name']):<{widest}}")
            _with_remark(line, short(term["formula"], LONGEST_MESSAGE), to)
    for verdict in decision["verdicts"]:
        where = " ".join(short(part) for part in (verdict["node"], verdict["gpu"]) if part)
        sign = "●" if verdict["chosen"] else "○"
        paragraph(f"{sign} {where}: {verdict['reason']}", indent=2, hang=2, to=to)


def _with_remark(line: Text, remark: str, to: Console) -> None:
    """Print a line with a dim remark after it, or below it when the window is too narrow for both."""
    if not to.is_terminal or line.cell_len + 2 + len(remark) <= to.width:
        show(line.append(f"  {remark}", style="dim"), to=to)
    else:
        show(line, to=to)
        paragraph(remark, indent=13, style="dim", to=to)
