#!/usr/bin/env python
"""Django's usual entry point; ``steward X`` is the same as ``python manage.py X``."""

from steward_site.cli import main

if __name__ == "__main__":
    main()
