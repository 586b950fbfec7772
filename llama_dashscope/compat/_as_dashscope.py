"""`as_dashscope`: this package under the official SDK's name, for imports that can't be changed."""

import importlib
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from types import ModuleType
from typing import Any, Final

from llama_dashscope._errors import (
    APIStatusError,
    APITimeoutError,
    ConfigurationError,
    DashScopeError,
    InvalidRequestError,
    ServiceUnavailableError,
)

from . import response_types
from ._process_client import SETTINGS, settings_of
from ._regions import set_region
from .generation import AioGeneration, Generation, InputRequired, ModelRequired

__all__ = ["as_dashscope"]

RELEASE: Final = "2.0.2"
"""The official SDK's release that `Generation` is compared with; programs ask for one."""

SDK: Final = "dashscope"

GENERATION: Final = {"Generation": Generation, "AioGeneration": AioGeneration}

MODULES: Final[Mapping[str, Mapping[str, object]]] = {
    SDK: {**GENERATION, "set_region": set_region, "__version__": RELEASE},
    "dashscope.version": {"__version__": RELEASE},
    "dashscope.aigc": {},
    "dashscope.aigc.generation": GENERATION,
    "dashscope.api_entities": {},
    "dashscope.api_entities.dashscope_response": {
        each.__name__: each for each in response_types.TYPES
    },
    "dashscope.common": {},
    "dashscope.common.error": {
        "DashScopeException": DashScopeError,
        "AuthenticationError": ConfigurationError,  # there it says that there is no key
        "InputRequired": InputRequired,
        "ModelRequired": ModelRequired,
        "InvalidInput": InvalidRequestError,
        "InvalidParameter": InvalidRequestError,
        "RequestFailure": APIStatusError,
        "ServiceUnavailableError": ServiceUnavailableError,
        "TimeoutException": APITimeoutError,
        "UnsupportedApiProtocol": InvalidRequestError,
    },
}
"""The modules of the official SDK that this package stands for, and what is in them."""

THEIRS: Final = {"set_region", "__version__"}
"""What stays the official SDK's own where this package stands in front of it."""


def as_dashscope(*, in_front: bool = False) -> AbstractContextManager[object]:
    """Let `import dashscope` find this package, for text generation.

    Call it before the modules that import `dashscope` are imported. It holds for the process, or
    for a `with` block. `dashscope`, `dashscope.aigc.generation`, `dashscope.common.error`,
    `dashscope.version` and `dashscope.api_entities.dashscope_response` have what belongs to
    `Generation` and `AioGeneration`; whatever else the official SDK has is an AttributeError.

    Args:
        in_front: stand in front of the official SDK where it is installed: what is not here comes
            from there, and the settings `api_key`, `api_key_file_path` and `base_http_api_url` are
            those of its module.

    Returns:
        A context manager; at its end `import dashscope` finds what it found before.

    Raises:
        ConfigurationError: the official SDK is installed, and `in_front` is not set.
    """
    undo = ExitStack()
    with undo:
        if not _is_installed():
            _stand_alone(undo)
        elif in_front:
            _stand_in_front(undo)
        else:
            msg = (
                "the official SDK is installed, and import dashscope finds it; "
                "as_dashscope(in_front=True) puts this package in front of it"
            )
            raise ConfigurationError(msg)
        return undo.pop_all()


def _is_installed() -> bool:
    if isinstance(sys.modules.get(SDK), _StandIn):
        return False
    return find_spec(SDK) is not None


class _StandIn(ModuleType):
    """A module of the official SDK of which there is only what belongs to text generation."""

    def __init__(self, name: str, content: Mapping[str, object]) -> None:
        super().__init__(name, f"{name} of the official SDK, as llama_dashscope offers it.")
        self.__spec__ = ModuleSpec(name, None, is_package=True)
        self.__path__ = []
        vars(self).update(content)

    def __getattr__(self, name: str) -> Any:  # any setting
        if self.__name__ == SDK and name in SETTINGS:
            return getattr(sys.modules["llama_dashscope"], name)
        msg = (
            f"{self.__name__}.{name} is not here: llama_dashscope has the text generation of the "
            "official SDK alone; with the SDK installed, as_dashscope(in_front=True) has both"
        )
        raise AttributeError(msg, name=name, obj=self)

    def __setattr__(self, name: str, value: object) -> None:
        at_home = self.__name__ == SDK and name in SETTINGS
        if at_home:
            setattr(sys.modules["llama_dashscope"], name, value)
        else:
            super().__setattr__(name, value)


def _stand_alone(undo: ExitStack) -> None:
    """Put modules of our own where the official SDK's would be."""
    for name, content in MODULES.items():
        undo.callback(_put_back, name, sys.modules.get(name))
        sys.modules[name] = module = _StandIn(name, content)
        parent, _, child = name.rpartition(".")
        if parent:
            vars(sys.modules[parent])[child] = module


def _put_back(name: str, module: ModuleType | None) -> None:
    if module is None:
        sys.modules.pop(name, None)
    else:
        sys.modules[name] = module


def _stand_in_front(undo: ExitStack) -> None:
    """Put what is here into the official SDK's own modules, and go by its settings."""
    for name, content in MODULES.items():
        module = importlib.import_module(name)
        for key in content.keys() - THEIRS:
            undo.callback(setattr, module, key, getattr(module, key))
            setattr(module, key, content[key])
    undo.callback(settings_of.pop)
    settings_of.append(SDK)
