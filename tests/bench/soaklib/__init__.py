"""The parts of tests/bench/soak.

    model.py      what should be there, and in which states it may be
    generator.py  which step comes next: from the seed and the model alone
    steps.py      does a step, to the world and to the model
    world.py      the real thing: the agent, its folders, disks and signals
    sources.py    the three control planes, and how each is cut off
    runs.py       what each run of a workload says of itself (workload.c)
    logs.py       the logs against that
    observer.py   the world against the model
    janitor.py    nothing is left behind, whatever happens
"""


class Violation(Exception):
    """The world is not as the model has it."""
