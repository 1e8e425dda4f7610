"""A package, so that ``from tests.tiny import ...`` never finds the ``tests`` that some package installs."""
