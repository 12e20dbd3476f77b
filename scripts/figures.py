#!/usr/bin/env python3
"""What `make soak` has counted, and `make bench` has measured if bench.json is there: into soak.json and docs/figures.md.

Only what a run left behind is written; what did not run is named as such."""
import json
import pathlib
import platform
import re
import subprocess
import sys

SUITES = {
    "explorer": "every state of every world, and every missing rule found",
    "faults": "AWS goes wrong: one way, on one call, of one part of a journey",
    "crash_matrix": "kill -9 at every step",
    "committing": "a rollback at every point of `committing`",
    "anywhere": "a rollback from every phase, in every weather",
}
WORLD = re.compile(r"^\.*world `(.+?)`( without a rule \((\w+)\))?: (\d+) states, (\d+) steps,.* ([\d.]+) s$", re.M)


def explorer(log: pathlib.Path):
    """The worlds walked, as the explorer printed them; none if the run failed or was not made."""
    if not log.exists():
        return None
    text = log.read_text()
    found = [match.groups() for match in WORLD.finditer(text)]
    whole = [world for world in found if world[1] is None]
    without = {world[2] for world in found if world[2]}
    if not found or "test result: ok" not in text:
        return None
    return {
        "suite": "explorer", "what": "a world of the design, walked to its end", "cases": len(whole), "survived": len(whole),
        "skipped": [], "planted": len(without), "caught": len(without),
        "states": sum(int(world[3]) for world in whole), "steps": sum(int(world[4]) for world in whole),
        "seconds": round(sum(float(world[5]) for world in found)),
    }


def told(command: list[str]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def machine() -> dict:
    model = re.search(r"^model name\s*: (.+)$", pathlib.Path("/proc/cpuinfo").read_text(), re.M)
    cores = told(["nproc"])
    return {
        "cores": cores, "cpu": model.group(1) if model else platform.machine(), "kernel": platform.release(),
    }


def row(suite: dict) -> str:
    number = lambda key: f"{suite[key]:,}" if key in suite else "·"
    traffic = suite.get("requests")
    after = number("green_after_rollback") if traffic else "·"
    lost, left = (number("lost") if traffic else "·"), (number("left_over") if "left_over" in suite else "·")
    planted = f"{suite['caught']} of {suite['planted']}" if suite.get("planted") else "·"
    return (f"| {SUITES[suite['suite']]} | {suite['survived']:,} of {suite['cases']:,} | {f'{traffic:,}' if traffic else '·'} | {lost} | {after} | "
            f"{left} | {planted} | {suite['seconds']:,} s | {suite['of']} | `scripts/soak {suite['suite']}` |")


def main() -> int:
    out = pathlib.Path(sys.argv[1])
    suites = {}
    for name in SUITES:
        read = explorer(out / "explorer.log") if name == "explorer" else None
        file = out / f"{name}.json"
        if file.exists():
            read = json.loads(file.read_text())
        of = out / f"{name}.of"
        if read:
            # Suites may run one by one: each says which commit it ran on.
            suites[name] = read | {"of": of.read_text().strip() if of.exists() else "unknown"}
    soak = {"machine": machine(), "suites": suites}
    pathlib.Path("soak.json").write_text(json.dumps(soak, indent=2) + "\n")
    lines = page(soak)
    pathlib.Path("docs/figures.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    return 0


def page(soak: dict) -> list[str]:
    of, suites = soak["machine"], soak["suites"]
    lines = [
        "# Figures", "",
        "Written by `make soak`, and `make bench` before it; never by hand. What a suite does and how it is judged: [How it is known to hold](proof.md).",
        "",
        f"{of['cores']} cores ({of['cpu']}, Linux {of['kernel']}). The provider is the pocket region, not AWS: a "
        "time here is a time beside the bare work in the same run, not what a load balancer of AWS's takes.",
        "", "## What was survived", "",
        "| what | survived | requests | lost | green's after a rollback | left over | planted bugs caught | took | commit, day | again with |",
        "|---|--:|--:|--:|--:|--:|--:|--:|---|---|",
    ]
    lines += [row(suite) for suite in suites.values()]
    missing = [SUITES[name] for name in SUITES if name not in suites]
    lines += ["", *(f"Not run, or failed: {name}." for name in missing)]
    if "explorer" in suites:
        walked = suites["explorer"]
        lines += [f"The explorer walked {walked['states']:,} states by {walked['steps']:,} steps."]
    skipped = [f"- {name}: {reason}" for name, suite in suites.items() for reason in suite.get("skipped", [])]
    if skipped:
        lines += ["", "Could not be tried there, and is not counted:", "", *skipped]
    bench = pathlib.Path("bench.json")
    if bench.exists():
        lines += rates(json.loads(bench.read_text()))
    else:
        lines += ["", "## How long it takes", "", "Not measured in this run: `make bench`, then `make soak`."]
    return lines


def rates(bench: dict) -> list[str]:
    """The rollback rows: what was measured, what it had to be, and whether it was."""
    lines = ["", "## How long it takes", ""]
    goals = bench.get("goals", [])
    load = bench.get("rollback", {}).get("load", {})
    lines += [f"Load of the machine: {load.get('before', 'unknown')} before, {load.get('after', 'unknown')} after.", "",
              "| figure | measured | goal | |", "|---|--:|--:|---|"]
    for goal in goals:
        figure = "not measured" if goal["figure"] is None else f"{goal['figure']:.3f}"
        lines.append(f"| `{goal['name']}` | {figure} | at most {goal['most']} | {'met' if goal['met'] else '**missed**'} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
