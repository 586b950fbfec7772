"""The limit of open files of a process; a thousand streams need a thousand."""

from __future__ import annotations

import resource

WANTED = 4096


def allow_many_files() -> None:
    """Raise this process's soft limit to its hard limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
