"""What the self-check found, in words a page and a command line can show."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One claim about the recording, whether it held, and the figure behind it."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True)
class SelfCheckReport:
    """All claims checked at load, and what a reader must know beside them.

    `proven_at` says when, in ISO 8601, where that was at an earlier start; it is empty where it was at this one.
    """

    checks: tuple[Check, ...] = ()
    notes: tuple[str, ...] = ()
    proven_at: str = ""

    @property
    def passed(self) -> bool:
        """Whether every claim held (and any was checked)."""
        return bool(self.checks) and all(check.passed for check in self.checks)
