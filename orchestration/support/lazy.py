"""Modules of the standard library that are loaded when they are first used, so that quick commands start quickly.

What others import and `taskq add` never uses: ``inspect``, which click needs, loads ``tokenize``, and ``pathlib`` loads
``ipaddress``.
Guarantees: whoever looks at an attribute gets the real module's, once loaded, from any thread.
``importlib.util.LazyLoader`` does not serve: until Python 3.12 the plain ``import`` statement makes it load.
"""

import sys
from _thread import allocate_lock
from importlib import import_module
from types import ModuleType
from typing import Any, Final

NAMES: Final = ("tokenize", "ipaddress")
_loading: Final = allocate_lock()


class _StandIn(ModuleType):
    """Takes the module's place in ``sys.modules``; the first look at an attribute that it lacks loads the module."""

    def __getattr__(self, attribute: str) -> Any:
        with _loading:
            if sys.modules.get(self.__name__) is self:
                del sys.modules[self.__name__]
                self.__dict__.update(vars(import_module(self.__name__)))
        return getattr(sys.modules[self.__name__], attribute)


def load_on_use(*names: str) -> None:
    """Put a stand-in in the place of each module that is not loaded yet."""
    for name in names:
        if name not in sys.modules:
            sys.modules[name] = _StandIn(name)
