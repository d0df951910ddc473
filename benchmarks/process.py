"""What a process holds in memory and has used of the processors, as Linux says."""

from pathlib import Path


def resident(name: str, process: int | str = "self") -> float:
    """Megabytes a process holds (VmRSS) or has held at most since the last `forget_peak` (VmHWM)."""
    lines = Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * 1024 / 1e6


def forget_peak() -> None:
    """Let the peak start from what is held now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
