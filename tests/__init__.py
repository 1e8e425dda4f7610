"""A package, so that ``from tests.helpers.tiny import ...`` never finds the ``tests`` that some package installs."""
