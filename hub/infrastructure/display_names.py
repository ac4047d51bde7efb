"""What a thing may be called, whoever types it: text for people, from which nothing is ever built. PURE."""

import re
import unicodedata

MAX_LENGTH = 100
_LOOKS_LIKE_ID = re.compile(r"[0-9a-f]{32}")
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def fault_of(name: str) -> str | None:
    """Why this is no name; None if it is one."""
    if not name or len(name) > MAX_LENGTH:
        return f"expected 1 to {MAX_LENGTH} characters"
    if name != name.strip() or any(unicodedata.category(character) in _HIDDEN for character in name):
        return "expected no space at either end and no control or invisible character"
    if name.startswith(("-", ".")) or any(character in name for character in "/\\#?%"):
        return "expected no - or . at the beginning and none of / \\ # ? % in it"
    if _LOOKS_LIKE_ID.fullmatch(name):
        return "expected something that does not look like an id"
    return None


def shown(text: str, limit: int = 200) -> str:
    """Foreign text with everything escaped that is not plainly visible, cut at the limit."""
    head = text[: limit + 1]
    visible = "".join(
        character.encode("unicode_escape", "surrogatepass").decode("ascii")
        if unicodedata.category(character) in _HIDDEN
        else character
        for character in head
    )
    return visible if len(visible) <= limit else visible[: limit - 1] + "…"
