"""The checks of ``check`` that go beyond planning: lint rules, nginx, limits of the machine."""
