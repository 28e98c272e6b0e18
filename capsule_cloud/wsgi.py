"""The WSGI entry point: `granian --interface wsgi capsule_cloud.wsgi:application`."""

import os

from django.core.wsgi import get_wsgi_application

from capsule_cloud import checks

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "capsule_cloud.settings")

application = get_wsgi_application()
checks.refuse_wrong_boot()
