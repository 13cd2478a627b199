"""Prints debian/changelog, made from the NEWS: python3 changelog.py NEWS SECONDS SUFFIX.

A version that is not released yet has the time that is given, in seconds since 1970; so has one without a date.
"""

import re
import sys
from calendar import timegm
from email.utils import formatdate
from pathlib import Path
from time import strptime

MAINTAINER = "emperor-bridge developers <emperor-bridge@packages.debian.org>"
HEAD = re.compile(r"^emperor-bridge (\S+)(?: \((.+)\))?$", re.MULTILINE)


def entries(news: str, now: int, suffix: str) -> str:
    """Return the text of a debian/changelog for these NEWS."""
    _, *found = HEAD.split(news)
    made = []
    for version, date, text in zip(found[::3], found[1::3], found[2::3], strict=True):
        seconds = now if date in {None, "unreleased"} else timegm(strptime(date, "%Y-%m-%d"))
        when = formatdate(seconds).replace("-0000", "+0000")
        # What both have alike: an indentation of two. A heading is in brackets, a point has a star.
        body = re.sub(r"^  (?![- ])(.+)$", r"  [ \1 ]", text, flags=re.MULTILINE)
        body = re.sub(r"^  - ", "  * ", body, flags=re.MULTILINE).strip("\n")
        made.append(
            f"emperor-bridge ({version}-1{suffix}) unstable; urgency=medium\n\n{body}\n\n -- {MAINTAINER}  {when}\n"
        )
    return "\n".join(made)


if __name__ == "__main__":
    news, now, suffix = sys.argv[1:]
    sys.stdout.write(entries(Path(news).read_text("utf-8"), int(now), suffix))
