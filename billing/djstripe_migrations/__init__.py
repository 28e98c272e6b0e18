"""dj-stripe's tables in one migration: its own history costs a fresh database 100 CPU-seconds, this costs 7.

After an upgrade of dj-stripe run `manage.py makemigrations djstripe --name <what_changed>`; a test tells when.
"""
