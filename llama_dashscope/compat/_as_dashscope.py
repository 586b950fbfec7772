"""`as_dashscope`: makes `import dashscope` find this package, for code that can't be changed."""

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
from ._process_client import (
    SETTINGS,
    close_shared_aio_session,
    close_shared_sync_session,
    settings_of,
)
from ._regions import set_region
from .generation import AioGeneration, Generation, InputRequired, ModelRequired

__all__ = ["as_dashscope"]

RELEASE: Final = "2.0.2"
"""The release of the official SDK that `Generation` is compared with; some programs read it."""

SDK: Final = "dashscope"

SESSIONS: Final = {
    each.__name__: each for each in (close_shared_aio_session, close_shared_sync_session)
}

GENERATION: Final = {"Generation": Generation, "AioGeneration": AioGeneration}

MODULES: Final[Mapping[str, Mapping[str, object]]] = {
    SDK: {**GENERATION, **SESSIONS, "set_region": set_region, "__version__": RELEASE},
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
        "AuthenticationError": ConfigurationError,  # in the SDK it means that there is no key
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
"""The modules of the official SDK that this package replaces, and their contents."""

KEPT_BY_SDK: Final = {"set_region", "__version__", *SESSIONS}
"""Names that `in_front` leaves as they are in the official SDK."""


def as_dashscope(*, in_front: bool = False) -> AbstractContextManager[object]:
    """Make `import dashscope` find this package, for text generation.

    Call it before importing the modules that import `dashscope`. It lasts for the process, or for a
    `with` block. `dashscope`, `dashscope.aigc.generation`, `dashscope.common.error`,
    `dashscope.version` and `dashscope.api_entities.dashscope_response` then have what belongs to
    `Generation` and `AioGeneration`; any other name of the official SDK raises AttributeError.

    Args:
        in_front: if the official SDK is installed, replace only its text generation: all other
            names come from the SDK, and the settings `api_key`, `api_key_file_path` and
            `base_http_api_url` are read from its module.

    Returns:
        A context manager; leaving it undoes the change.

    Raises:
        ConfigurationError: the official SDK is installed, and `in_front` is not set.
    """
    undo = ExitStack()
    with undo:
        if not _is_installed():
            _install_stand_ins(undo)
        elif in_front:
            _patch_sdk(undo)
        else:
            msg = (
                "the official SDK is installed, so import dashscope finds it; "
                "as_dashscope(in_front=True) replaces its text generation by this package"
            )
            raise ConfigurationError(msg)
        return undo.pop_all()


def _is_installed() -> bool:
    if isinstance(sys.modules.get(SDK), _StandIn):
        return False
    return find_spec(SDK) is not None


class _StandIn(ModuleType):
    """Stands in for a module of the official SDK; has only what belongs to text generation."""

    def __init__(self, name: str, content: Mapping[str, object]) -> None:
        super().__init__(name, f"{name} of the official SDK, as llama_dashscope offers it.")
        self.__spec__ = ModuleSpec(name, None, is_package=True)
        self.__path__ = []
        vars(self).update(content)

    def __getattr__(self, name: str) -> Any:  # any setting
        if self.__name__ == SDK and name in SETTINGS:
            return getattr(sys.modules["llama_dashscope"], name)
        msg = (
            f"{self.__name__}.{name} is missing: llama_dashscope only has the official SDK's text "
            "generation; with the SDK installed, as_dashscope(in_front=True) offers both"
        )
        raise AttributeError(msg, name=name, obj=self)

    def __setattr__(self, name: str, value: object) -> None:
        is_setting = self.__name__ == SDK and name in SETTINGS
        if is_setting:
            setattr(sys.modules["llama_dashscope"], name, value)
        else:
            super().__setattr__(name, value)


def _install_stand_ins(undo: ExitStack) -> None:
    """Put stand-ins into `sys.modules` in place of the official SDK's modules."""
    for name, content in MODULES.items():
        undo.callback(_restore, name, sys.modules.get(name))
        sys.modules[name] = module = _StandIn(name, content)
        parent, _, child = name.rpartition(".")
        if parent:
            vars(sys.modules[parent])[child] = module


def _restore(name: str, module: ModuleType | None) -> None:
    if module is None:
        sys.modules.pop(name, None)
    else:
        sys.modules[name] = module


def _patch_sdk(undo: ExitStack) -> None:
    """Put our classes into the official SDK's modules, and read its settings."""
    for name, content in MODULES.items():
        module = importlib.import_module(name)
        for key in content.keys() - KEPT_BY_SDK:
            undo.callback(setattr, module, key, getattr(module, key))
            setattr(module, key, content[key])
    undo.callback(settings_of.pop)
    settings_of.append(SDK)
