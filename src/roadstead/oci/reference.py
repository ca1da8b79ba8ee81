"""Names of repositories and tags, and what follows ``/manifests/`` (distribution-spec, "Pulling manifests", "Referrers Tag Schema")."""

from __future__ import annotations

import re
from typing import TypeAlias

from roadstead.errors import InvalidName, InvalidTag
from roadstead.oci.digest import Digest

NAME_LIMIT = 255
"""The longest repository name (characters), project included. The specification warns that many clients stop at 255."""

TAG_LIMIT = 128
"""The longest tag (characters)."""

DEFAULT_PROJECT = "library"
"""The project of a name that has a single component, as clients of Docker Hub expect."""

_NAME = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_FOREIGN_TO_NAMES = re.compile(r"[^a-z0-9._/-]")
_FOREIGN_TO_TAGS = re.compile(r"[^a-zA-Z0-9._-]")
_SEPARATORS = re.compile(r"[._-]+")
_ONE_SEPARATOR = re.compile(r"\.|_|__|-+")


class RepositoryName(str):
    """A valid repository name in full, ``project/path…``; the path may have several components.

    A `str`, as `Digest` is: text from outside enters by `parse`, the class itself checks nothing.
    """

    __slots__ = ()

    @property
    def project(self) -> str:
        """The first component."""
        return self.partition("/")[0]

    @property
    def path(self) -> str:
        """All after the first slash."""
        return self.partition("/")[2]

    @classmethod
    def parse(cls, text: str) -> RepositoryName:
        """Read a name (distribution-spec, "Pulling manifests"); ``ubuntu`` becomes ``library/ubuntu``.

        Raises InvalidName with the rule that it breaks.
        """
        full = text if "/" in text else f"{DEFAULT_PROJECT}/{text}"
        if len(full) <= NAME_LIMIT and _NAME.fullmatch(full):
            return cls(full)
        raise InvalidName(f"The repository name {text[:80]!r} is not valid: {_name_rule(text, len(full))}.")


class TagName(str):
    """A valid tag. A `str`, as `Digest` is: text from outside enters by `parse`, the class itself checks nothing."""

    __slots__ = ()

    @classmethod
    def parse(cls, text: str) -> TagName:
        """Read a tag (distribution-spec, "Pulling manifests"). Raises InvalidTag with the rule that it breaks."""
        if _TAG.fullmatch(text):
            return cls(text)
        raise InvalidTag(f"The tag {text[:80]!r} is not valid: {_tag_rule(text)}.")


Reference: TypeAlias = TagName | Digest
"""What names a manifest within a repository."""


def parse_reference(text: str) -> Reference:
    """Read a tag or a digest; a colon makes it a digest. Raises InvalidTag, InvalidDigest or UnsupportedAlgorithm."""
    return Digest.parse(text) if ":" in text else TagName.parse(text)


def referrers_tag(digest: Digest) -> TagName:
    """The tag under which clients keep the referrers of `digest` where a registry has no referrers API.

    Distribution-spec, "Referrers Tag Schema": the algorithm cut to 32 characters, a hyphen, the hash cut to 64;
    a character that a tag cannot have becomes a hyphen.
    """
    return TagName(_FOREIGN_TO_TAGS.sub("-", f"{digest.algorithm[:32]}-{digest.encoded[:64]}"))


def _name_rule(text: str, full_length: int) -> str:
    """Which rule `text`, which is not a valid name of `full_length` characters with its project, breaks."""
    if not text:
        return "it is empty"
    if full_length > NAME_LIMIT:
        project = "" if "/" in text else f" with its project '{DEFAULT_PROJECT}/'"
        return f"it has {full_length} characters{project}, {full_length - NAME_LIMIT} more than the {NAME_LIMIT} allowed"
    if text[0] == "/" or text[-1] == "/":
        return "it begins or ends with '/'"
    if "//" in text:
        return f"it has an empty component ('//') at character {text.index('//') + 1}"
    if foreign := _FOREIGN_TO_NAMES.search(text):
        return _foreign_to_names(foreign[0], foreign.start() + 1)
    return next(rule for component in text.split("/") if (rule := _component_rule(component)))


def _foreign_to_names(character: str, position: int) -> str:
    if character == "%":
        return f"it has a percent sign at character {position}; names are written plainly, without percent-encoding"
    if character.isupper():
        return f"it has the upper case letter {character!r} at character {position}; names are in lower case"
    return f"it has the character {character!r} at character {position}; names take a-z, 0-9, '.', '_', '-' and '/'"


def _component_rule(component: str) -> str | None:
    """Which rule a component made of the right characters breaks, if any."""
    if component in (".", ".."):
        return f"'{component}' is not a component"
    if component[0] in "._-":
        return f"the component {component!r} begins with the separator {component[0]!r}"
    if component[-1] in "._-":
        return f"the component {component!r} ends with the separator {component[-1]!r}"
    wrong = next((run for run in _SEPARATORS.findall(component) if not _ONE_SEPARATOR.fullmatch(run)), None)
    return wrong and f"{wrong!r} does not separate words; a separator is one '.', one or two '_', or any number of '-'"


def _tag_rule(text: str) -> str:
    """Which rule `text`, which is not a valid tag, breaks."""
    if not text:
        return "it is empty"
    if len(text) > TAG_LIMIT:
        return f"it has {len(text)} characters, {len(text) - TAG_LIMIT} more than the {TAG_LIMIT} allowed"
    if foreign := _FOREIGN_TO_TAGS.search(text):
        return f"it has the character {foreign[0]!r} at character {foreign.start() + 1}; tags take letters, digits, '_', '.' and '-'"
    return f"it begins with {text[0]!r}; a tag begins with a letter, a digit or '_'"
