"""Searching text with somebody else's regular expression, in time that its length bounds."""

from collections.abc import Callable

from modelgrid.domain.errors import InvalidInput

LONGEST_PATTERN = 1_000
MOST_MEMORY_BYTES = 8 * 1024**2
"""Of one compiled expression; RE2 refuses what needs more."""


def searcher(pattern: str) -> Callable[[str], bool]:
    """Return whether a text contains a match of `pattern`.

    RE2 runs in time proportional to the text whatever the pattern, so it has no look-around and no back-references.
    Raises `InvalidInput` for what it does not understand."""
    import re2  # noqa: PLC0415  (5 MB that most daemons never need)

    if len(pattern) > LONGEST_PATTERN:
        raise InvalidInput(
            f"The regular expression has {len(pattern)} characters.",
            fix=f"At most {LONGEST_PATTERN}.",
            path="grep",
        )
    options = re2.Options()
    options.log_errors = False
    options.max_mem = MOST_MEMORY_BYTES
    try:
        found = re2.compile(pattern, options).search
    except (re2.error, UnicodeEncodeError) as error:
        said = error.args[0].decode("utf-8", "replace") if isinstance(error.args[0], bytes) else str(error)
        raise InvalidInput(
            f"The regular expression is not usable: {said}.",
            fix="The syntax is RE2's: no look-around, no back-references. \\Q…\\E searches for a text as it is.",
            path="grep",
        ) from None
    return lambda text: found(text) is not None
