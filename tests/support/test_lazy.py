"""Stand-ins for modules: loaded when somebody looks, and then the real thing, also for many at once."""

import subprocess
import sys

import pytest


def run(program: str) -> str:
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


START = """
import sys
sys.modules.pop("colorsys", None)
from orchestration.support.lazy import load_on_use
load_on_use("colorsys")
import colorsys
"""


def test_importing_loads_nothing_and_looking_does() -> None:
    said = run(
        START + "before = type(sys.modules['colorsys']).__name__; colorsys.rgb_to_hsv\n"
        "print(before, type(sys.modules['colorsys']).__name__, colorsys.rgb_to_hsv(1, 0, 0))"
    )
    assert said == "_StandIn module (0.0, 1.0, 1)\n"


def test_from_import_gives_the_real_thing() -> None:
    said = run(START + "from colorsys import hsv_to_rgb; print(hsv_to_rgb is sys.modules['colorsys'].hsv_to_rgb)")
    assert said == "True\n"


def test_many_threads_that_look_at_once_get_one_module() -> None:
    program = (
        START
        + """
import threading
start, seen = threading.Barrier(16), []
def look():
    start.wait()
    seen.append(colorsys.rgb_to_hls)
threads = [threading.Thread(target=look) for _ in range(16)]
[one.start() for one in threads]; [one.join() for one in threads]
print(len(seen), len(set(map(id, seen))))
"""
    )
    assert run(program) == "16 1\n"


def test_what_is_missing_in_the_module_is_missing_as_always() -> None:
    with pytest.raises(AssertionError, match="AttributeError"):
        run(START + "colorsys.nothing_of_the_kind")


def test_what_is_loaded_already_stays() -> None:
    said = run(
        "import sys, json\nfrom orchestration.support.lazy import load_on_use\nload_on_use('json')\n"
        "print(sys.modules['json'] is json)"
    )
    assert said == "True\n"
