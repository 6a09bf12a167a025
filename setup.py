"""A wheel that carries the compiled fold is for its platform, and any Python 3; one without it is for all of them."""

from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel

BUILT = any(Path(__file__).parent.glob("streams/lib/libmediana_fold.*"))


class WithLibrary(Distribution):
    """setuptools asks this to tell a wheel of one platform from one of all."""

    def has_ext_modules(self) -> bool:
        return BUILT


class Wheel(bdist_wheel):
    """The library is loaded by ctypes: it knows nothing of Python's version."""

    def get_tag(self) -> tuple[str, str, str]:
        platform = super().get_tag()[2]
        return "py3", "none", platform


setup(distclass=WithLibrary, cmdclass={"bdist_wheel": Wheel})
