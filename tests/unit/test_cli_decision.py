"""How the command line shows decisions: each thing once, however many replicas are asked for."""

from typing import TYPE_CHECKING

from modelgrid.cli.decision import show_preview

if TYPE_CHECKING:
    from modelgrid.client.views import Decision


def decision(summary: str, *, node: str | None = "a", weights: int = 4) -> "Decision":
    return {
        "node": node,
        "gpus": ["nvidia-0"] if node else [],
        "need": {"gpu_count": 1, "terms": [{"name": "weights", "bytes": weights << 30, "formula": "as they are"}]},
        "verdicts": [{"node": "a", "gpu": "nvidia-0", "chosen": node is not None, "reason": f"because {summary}"}],
        "omitted": {},
        "summary": summary,
    }


def shown(capsys, *decisions: "Decision") -> list[str]:
    show_preview({"model": "m", "decisions": list(decisions)}, as_json=False)
    return [line.strip() for line in capsys.readouterr().out.splitlines()]


def test_what_holds_for_several_replicas_is_said_once(capsys):
    lines = shown(capsys, decision("first"), *[decision("full", node=None)] * 3)
    assert [line for line in lines if line[0] in "●✕"] == ["● first", "● a nvidia-0: because first", "✕ full"]
    assert lines[-1] == "The same holds for 2 more replicas."
    assert shown(capsys, *[decision("full", node=None)] * 2)[-1] == "The same holds for 1 more replica."


def test_a_need_is_shown_again_only_when_it_is_another(capsys):
    lines = shown(capsys, decision("first"), decision("second"), decision("split", weights=2))
    assert [line for line in lines if "needed on the GPU" in line] == [
        "4.00 GiB  needed on the GPU",
        "2.00 GiB  needed on the GPU",
    ]
    assert "● a nvidia-0: because second" in lines
