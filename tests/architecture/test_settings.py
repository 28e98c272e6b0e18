"""A wrong setting does not boot, production's settings are clean, and every setting is documented."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.conf import settings

from capsule_cloud import checks
from capsule_cloud.lib import embedded
from tests.architecture.sources import ROOT, python_files, read
from tests.live import environment

READ = re.compile(
    r"(?:env\.\w+|\b(?:text|words|number|secret|address|_embedded_or_stop)|os\.environ\.(?:get|setdefault)|os\.environ\[)"
    r'\(?\s*"([A-Z][A-Z0-9_]+)"|"([A-Z][A-Z0-9_]+)" (?:not )?in os\.environ'
)
# Django's, every terminal program's, and those in the snippets that customers copy
NOT_OURS = {"DJANGO_SETTINGS_MODULE", "NO_COLOR", "CAPSULE_API_KEY", "CAPSULE_WEBHOOK_SECRET"}
PRODUCTION = {
    "CAPSULE_ENV": "production",
    "SECRET_KEY": "k" * 40 + "abcdefghij0123456789",
    "API_KEY_PEPPER": "p" * 40,
    "ENCRYPTION_KEYS": Fernet.generate_key().decode(),
    "PUBLIC_URL": "https://memory.example.com",
    "EMAIL_URL": "smtp://user%40example.com:word@mail.example.com",
    "STATIC_ROOT": "/tmp/static",  # noqa: S108  # nothing is written there
    "USAGE_SPOOL_DIR": "/tmp/spool",  # noqa: S108
}


# What the WSGI server does before it imports the rooms, in a process for each environment that comes in: Python has
# started and imported Django before, the settings it reads are its own.
BOOTS = """
import json, os, sys, traceback
from django.conf import settings
from capsule_cloud import checks, env

for name, values in json.load(sys.stdin).items():
    child = os.fork()
    if not child:
        os.environ.clear()
        os.environ.update(values)
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT, 0o600), 2)
        try:
            checks.refuse_wrong_boot()
        except BaseException:
            traceback.print_exc()
        else:
            print("booted", file=sys.stderr)
        finally:
            sys.stderr.flush()
            os._exit(0)
    os.waitpid(child, 0)
assert not settings.configured
"""


def values_with(**changes: str | None) -> dict[str, str]:
    """Production's settings with these changes; None takes a setting away."""
    values = environment(**PRODUCTION, DJANGO_SETTINGS_MODULE="capsule_cloud.settings")
    values |= {name: value for name, value in changes.items() if value is not None}
    return {name: value for name, value in values.items() if changes.get(name, value) is not None}


def run(command: list[str], **changes: str | None) -> subprocess.CompletedProcess[str]:
    """Run Python with production's settings and these changes."""
    values = values_with(**changes)
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=values, capture_output=True, text=True, check=False, timeout=120
    )


def test_production_s_settings_are_clean(django_db_setup: None) -> None:
    done = run(["-W", "ignore", "manage.py", "check", "--deploy", "--fail-level", "INFO", "--database", "default"])
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout + done.stderr


def test_production_s_server_boots(django_db_setup: None) -> None:
    done = run(["-W", "ignore", "-c", "import capsule_cloud.wsgi; print('booted')"])
    assert done.stdout == "booted\n", done.stderr


def test_a_server_with_a_wrong_setting_does_not_boot(django_db_setup: None) -> None:
    done = run(["-W", "ignore", "-c", "import capsule_cloud.wsgi; print('booted')"], API_KEY_PEPPER="short")
    assert "API_KEY_PEPPER" in done.stderr
    assert done.stdout == ""


WRONG: list[tuple[str, str | None]] = [
    ("CAPSULE_ENV", "staging"),
    ("SECRET_KEY", None),
    ("SECRET_KEY", ""),
    ("API_KEY_PEPPER", None),
    ("API_KEY_PEPPER", "short"),
    ("ENCRYPTION_KEYS", None),
    ("ENCRYPTION_KEYS", "no-fernet-key"),
    ("PUBLIC_URL", None),
    ("PUBLIC_URL", "memory.example.com"),
    ("PUBLIC_URL", "https://memory.example.com:port"),
    ("EMAIL_URL", None),
    ("EMAIL_URL", "smpt://mail.example.com"),
    ("DATABASE_URL", None),
    ("DATABASE_URL", "mysql://user@host/name"),
    ("DATABASE_URL", "postgresql://user@host/"),
    ("DATABASE_URL", "postgresql://user@host:port/name"),
    ("BROKER_URL", None),
    ("CACHE_URL", None),
    ("USAGE_SPOOL_DIR", None),
    ("TRUSTED_PROXY_COUNT", "-1"),
    ("TRUSTED_PROXY_COUNT", "one"),
    ("CLOSED_ORGANIZATION_GRACE_DAYS", "0"),
    ("STRIPE_SECRET_KEY", "pk_live_0123456789abcdef"),
    ("STRIPE_SANDBOX", "yes"),
    ("EGRESS_PORTS", "https"),
    ("EGRESS_PROXY", "socks5://proxy:1080"),
    ("EGRESS_LOOPBACK", "1"),
    ("DNS_NAMESERVERS", "dns.example.com"),
    ("SAML_CRYPTO", "openssl"),
]


@pytest.fixture(scope="module")
def said(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str | None], str]:
    """What a boot said with each wrong setting, and with none that is."""
    folder = tmp_path_factory.mktemp("boots")
    cases = {str(folder / str(number)): case for number, case in enumerate([("LOG_LEVEL", "INFO"), *WRONG])}
    environments = {path: values_with(**{name: value}) for path, (name, value) in cases.items()}
    command = [sys.executable, "-W", "ignore", "-c", BOOTS]
    subprocess.run(
        command, cwd=ROOT, env=values_with(), input=json.dumps(environments), text=True, check=True, timeout=120
    )
    return {case: Path(path).read_text() for path, case in cases.items()}


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_setting_does_not_boot_and_says_which_it_is(
    name: str, value: str | None, said: dict[tuple[str, str | None], str]
) -> None:
    assert said["LOG_LEVEL", "INFO"] == "booted\n"
    last = said[name, value].strip().splitlines()[-1]
    assert "ImproperlyConfigured" in last
    assert name in last or (name == "DATABASE_URL" and "database" in last)
    assert value is None or len(value) < 12 or "://" not in value or value not in last


def test_every_setting_is_documented_and_no_other() -> None:
    used = {
        first or second for name in python_files(with_tests=False) for first, second in READ.findall(read(name))
    } - NOT_OURS
    documented = set(re.findall(r"^\| `([A-Z][A-Z0-9_]+)` \|", read("docs/settings.md"), re.MULTILINE))
    assert used == documented, "docs/settings.md has a row for every environment variable that the code reads."


PIN, LOCK = read("oss-version.txt"), read("requirements.lock")
HASH = PIN.rsplit(":", 1)[1].strip()


@pytest.mark.parametrize(
    ("pin", "lock", "found"),
    [
        (PIN, LOCK, set()),
        ("", LOCK, {"engine.E001"}),
        (PIN.replace("sha256:", "md5:"), LOCK, {"engine.E001"}),
        (PIN.replace("0.1.1", "0.1.2"), LOCK, {"engine.E002", "engine.E003"}),
        (PIN.replace(HASH, "0" * 64), LOCK, {"engine.E003"}),
        (PIN, LOCK.replace(HASH, "0" * 64), {"engine.E003"}),
        (PIN, LOCK.replace("capsule-memory==0.1.1", "capsule-memory==0.1.0"), {"engine.E003"}),
        (PIN, "", {"engine.E003"}),
    ],
    ids=["same", "no pin", "no sha256", "other version", "other hash", "locked hash", "locked version", "not locked"],
)
def test_the_engine_s_pin_lock_and_installation_are_one(
    pin: str, lock: str, found: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "BASE_DIR", tmp_path)
    (tmp_path / "oss-version.txt").write_text(pin)
    (tmp_path / "requirements.lock").write_text(lock)
    assert {error.id for error in checks.engine_pin(None)} == found


TEST_KEY, LIVE_KEY = "sk_test_0123456789abcdef", "rk_live_" + "0123456789abcdef"


@pytest.mark.parametrize(
    ("key", "is_sandbox", "secrets", "is_production", "found"),
    [
        ("", True, ["whsec_x"], False, set()),
        ("", False, [], True, set()),
        (TEST_KEY, False, ["whsec_x"], False, set()),
        (LIVE_KEY, False, ["whsec_x"], True, set()),
        (LIVE_KEY, False, ["whsec_x"], False, {"billing.E002"}),
        (TEST_KEY, True, ["whsec_x"], False, {"billing.E003"}),
        (TEST_KEY, False, [], True, {"billing.E004"}),
        ("pk_test_0123456789abcdef", False, ["whsec_x"], True, {"billing.E001"}),
    ],
)
def test_real_money_and_the_simulator_never_meet(
    key: str, is_sandbox: bool, secrets: list[str], is_production: bool, found: set[str], settings: Any
) -> None:
    settings.STRIPE_API_KEY, settings.STRIPE_IS_LIVE = key, "_live_" in key
    settings.STRIPE_SANDBOX, settings.STRIPE_WEBHOOK_SECRETS = is_sandbox, secrets
    settings.IS_PRODUCTION = is_production
    assert {error.id for error in checks.stripe(None)} == found


@pytest.mark.parametrize("role", ["owner", "superuser"])
def test_a_database_role_that_can_pass_the_wall_is_refused(role: str, django_db_setup: None) -> None:
    url = getattr(embedded.urls(), role).replace(f"/{embedded.DATABASE}?", f"/{settings.DATABASES['default']['NAME']}?")
    done = run(["-W", "ignore", "manage.py", "check", "--database", "default"], DATABASE_URL=url)
    assert done.returncode != 0
    assert "tenancy.E001" in done.stderr
