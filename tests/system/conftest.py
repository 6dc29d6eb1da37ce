"""Fixtures of the system tests.

`account` is who the agent runs as: every test runs once as root and once as the ordinary user
`edgible-test` when pytest runs as root, else only as whoever runs it. Marks narrow that:
@pytest.mark.as_root, @pytest.mark.as_user, and @pytest.mark.once for what cannot depend on it.
"""

import pytest

import harness
from harness import Agent, IS_ROOT


def pytest_configure(config):
    config.addinivalue_line("markers", "as_root: only with an agent that runs as root")
    config.addinivalue_line("markers", "as_user: only with an agent of an ordinary user")
    config.addinivalue_line("markers", "once: as whoever runs the tests, only")


def pytest_sessionfinish():
    harness.remove_public_folder()


def accounts_of(test):
    if test.get_closest_marker("as_root"):
        needs_root = pytest.mark.skipif(not IS_ROOT, reason="needs root")
        return [pytest.param("root", marks=needs_root)]
    if not IS_ROOT or test.get_closest_marker("as_user"):
        return ["user"]
    return ["root"] if test.get_closest_marker("once") else ["root", "user"]


def pytest_generate_tests(metafunc):
    if "account" in metafunc.fixturenames:
        metafunc.parametrize("account", accounts_of(metafunc.definition), indirect=True)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    """Leaves the outcome where fixtures see it, so that they print more after a failure."""
    report = (yield).get_result()
    if report.when == "call":
        item.call_failed = report.failed


@pytest.fixture
def account(request):
    if request.param == "root":
        return harness.Account("root")
    return harness.ordinary_account()


@pytest.fixture
def make_agent(request, account):
    """Makes agents (not yet started) with the sections of the configuration that a test gives;
    ends them and all of theirs after the test."""
    agents = []

    def make(**config):
        agents.append(Agent(account, **config))
        return agents[-1]

    yield make
    problems = [problem for agent in agents for problem in agent.close()]
    if problems or getattr(request.node, "call_failed", True):
        for agent in agents:
            print(f"--- stderr of the agent of {agent.device}")
            print("\n".join(agent.lines()[-300:]))
    assert not problems, "; ".join(problems)


@pytest.fixture
def agent(make_agent):
    """An agent that runs, with nothing deployed."""
    return make_agent().start()
