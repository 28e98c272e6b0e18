#!/usr/bin/env python
"""Entry point of Django's commands; `manage.py dev` is what `make run` calls."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "capsule_cloud.settings")
    execute_from_command_line(sys.argv)
