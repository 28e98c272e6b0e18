"""The one settings file: every value comes from the environment (docs/settings.md lists them)."""

from pathlib import Path
from urllib.parse import unquote

from capsule_cloud import env
from capsule_cloud.lib import embedded

BASE_DIR = Path(__file__).resolve().parent.parent
KIND = env.kind()
IS_PRODUCTION = KIND == env.PRODUCTION

# --- Secrets ---------------------------------------------------------------------------------------------------------
SECRET_KEY = env.secret("SECRET_KEY")
API_KEY_PEPPER = env.secret("API_KEY_PEPPER")
ENCRYPTION_KEYS = [key.strip() for key in env.secret("ENCRYPTION_KEYS").split(",")]

# --- Where we are reached --------------------------------------------------------------------------------------------
PUBLIC_URL = env.text("PUBLIC_URL", None if IS_PRODUCTION else "http://localhost:8000").rstrip("/")
_public = env.address("PUBLIC_URL", PUBLIC_URL, ["https", "http"])
PUBLIC_HOST = _public.hostname or ""
ALLOWED_HOSTS = env.words("ALLOWED_HOSTS", PUBLIC_HOST if IS_PRODUCTION else "localhost,127.0.0.1,[::1],testserver")
CSRF_TRUSTED_ORIGINS = [f"{_public.scheme}://{_public.netloc}"]
TRUSTED_PROXY_COUNT = env.number("TRUSTED_PROXY_COUNT", 0)
DEBUG = False  # error pages are the same everywhere; a developer reads the log

# --- Applications ----------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "admin_portal.apps.PortalConfig",
    "admin_portal.apps.StaffAdminConfig",
    "capsule_cloud",
    "capsule_cloud.web",
    "capsule_cloud.api",
    "capsule_cloud.memory",
    "billing.credits",
    "billing",
    "billing.invoicing",
    "billing.metering",
    "billing.quotas",
    "billing.sandbox",
    "tenancy",
    "tenancy.audit",
    "tenancy.audit.attempts",
    "tenancy.audit.exports",
    "tenancy.audit.search",
    "tenancy.audit.streams",
    "tenancy.audit.sealing",
    "tenancy.groups",
    "tenancy.scim",
    "tenancy.sso",
    "tenancy.sso.setup",
    "tenancy.webhooks",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "django.contrib.staticfiles",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",  # its OpenID Connect, for identity providers of organizations alone: tenancy/sso/oidc
    "allauth.usersessions",
    "django_celery_beat",
    "django_htmx",
    "djstripe",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "rest_framework",
]
MIDDLEWARE = [
    "capsule_cloud.api.door.ApiDoor",  # the API answers here, before any of the console's middleware
    "tenancy.scim.door.ScimDoor",  # and directories here
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "allauth.usersessions.middleware.UserSessionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "tenancy.middleware.RequestContextMiddleware",
    "tenancy.sso.middleware.SsoSessionMiddleware",
    "capsule_cloud.web.middleware.ContentSecurityPolicyMiddleware",
    "admin_portal.middleware.StaffDoorMiddleware",
    "capsule_cloud.web.middleware.BodyLimitMiddleware",
]
ROOT_URLCONF = "capsule_cloud.urls"
WSGI_APPLICATION = "capsule_cloud.wsgi.application"
APPEND_SLASH = True
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "capsule_cloud.web.context.shell",
            ],
        },
    },
]

# --- PostgreSQL ------------------------------------------------------------------------------------------------------


def _connection(url: str) -> dict[str, object]:
    address = env.database(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": address.name,
        "USER": address.user,
        "PASSWORD": address.password,
        "HOST": address.host,
        "PORT": address.port,
        "CONN_MAX_AGE": None,  # one connection a thread, kept: a new one costs more than most requests
        "OPTIONS": {
            **address.options,
            "application_name": "capsule-cloud",
            # PgBouncer before 1.21 cannot carry prepared statements in transaction pooling: set 0 there.
            "prepare_threshold": env.number("DATABASE_PREPARE_THRESHOLD", 2) or None,
        },
        "DISABLE_SERVER_SIDE_CURSORS": True,  # safe under transaction pooling
        "ATOMIC_REQUESTS": False,
    }


DATABASES = {"default": _connection(env.database_url())}
if _migrate_url := env.database_migrate_url():
    DATABASES["owner"] = _connection(_migrate_url)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
MIGRATION_MODULES = {"djstripe": "billing.djstripe_migrations"}  # upstream's take 101 CPU-seconds, this one 9

# --- Cache and jobs --------------------------------------------------------------------------------------------------
CACHE_URL = env.cache_url()
CACHES = {"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": CACHE_URL}}
CELERY_BROKER_URL = env.broker_url()
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
# Kombu's default hour would keep a killed worker's task away for an hour; our longest task is under five minutes.
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 600, "unacked_restore_interval": 1}
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_TIMEZONE = "UTC"
CELERY_BEAT_SCHEDULE = {
    "ship-usage": {"task": "metering.ship_usage", "schedule": 1.0},  # a read shows in the usage within two
    "forget-reported-events": {"task": "metering.forget_reported_events", "schedule": 3600.0},
    "make-usage-partitions": {"task": "metering.make_usage_partitions", "schedule": 21600.0},
    "sample-gauges": {"task": "metering.sample_gauges", "schedule": 3600.0},
    "reconcile-usage": {"task": "billing.reconcile_usage", "schedule": 86400.0},
    "deliver-webhooks": {"task": "webhooks.deliver", "schedule": 1.0},
    "make-audit-partitions": {"task": "audit.make_partitions", "schedule": 21600.0},
    "expire-audit-events": {"task": "audit.expire", "schedule": 86400.0},
    "seal-audit-trail": {"task": "audit.seal", "schedule": 1.0},
    "watch-audit-sealing": {"task": "audit.watch_sealing", "schedule": 60.0},
    "reconcile-audit-seals": {"task": "audit.reconcile_seals", "schedule": 3600.0},
    "sum-up-attempts": {"task": "audit.sum_up_attempts", "schedule": 300.0},
    "write-audit-exports": {"task": "audit_exports.write", "schedule": 2.0},
    "make-scheduled-audit-exports": {"task": "audit_exports.make_scheduled", "schedule": 60.0},
    "tidy-audit-exports": {"task": "audit_exports.tidy", "schedule": 900.0},
    "deliver-audit-streams": {"task": "audit_streams.deliver", "schedule": 1.0},
    "tidy-audit-streams": {"task": "audit_streams.tidy", "schedule": 900.0},
    "publish-audit-checkpoints": {"task": "audit.publish_checkpoints", "schedule": 3600.0},
    "check-domains": {"task": "sso.check_domains", "schedule": 5.0},
    "forget-exchanges": {"task": "scim.forget_exchanges", "schedule": 3600.0},
    "forget-sign-ins": {"task": "sso.forget_sign_ins", "schedule": 3600.0},
    "fetch-metadata": {"task": "sso.fetch_metadata", "schedule": 300.0},
    "tell-endings": {"task": "sso.tell_endings", "schedule": 3600.0},
    "tidy-webhooks": {"task": "webhooks.tidy", "schedule": 900.0},
    "purge-closed-organizations": {"task": "tenancy.purge_closed_organizations", "schedule": 3600.0},
    "apply-parked-writes": {"task": "quotas.apply_parked_writes", "schedule": 5.0},
    "settle-counters": {"task": "quotas.settle_counters", "schedule": 60.0},
    "say-crossed-thresholds": {"task": "quotas.say_crossed", "schedule": 60.0},
    "say-unusual-use": {"task": "quotas.say_unusual", "schedule": 600.0},
    "sample-allowances": {"task": "quotas.sample", "schedule": 600.0},
    "seal-idle-sessions": {"task": "quotas.seal_idle_sessions", "schedule": 60.0},
    "purge-expired-memory": {"task": "memory.purge_expired", "schedule": 900.0},
    "renew-search-entries": {"task": "memory.renew_search_entries", "schedule": 60.0},
    "process-stripe-events": {"task": "billing.process_stripe_events", "schedule": 5.0},
    "find-missed-stripe-events": {"task": "billing.find_missed_events", "schedule": 86400.0},
    "push-usage-to-stripe": {"task": "billing.push_usage", "schedule": 300.0},
    "sync-seats": {"task": "billing.sync_seats", "schedule": 3600.0},
    "remind-of-trials": {"task": "billing.remind_of_trials", "schedule": 3600.0},
    "advance-dunning": {"task": "billing.advance_dunning", "schedule": 300.0},
    "deduct-credits": {"task": "credits.deduct_due", "schedule": 30.0},
    "pay-due-top-ups": {"task": "credits.pay_due_top_ups", "schedule": 30.0},
    "close-periods": {"task": "invoicing.close_due", "schedule": 300.0},
    "begin-contracts": {"task": "invoicing.begin_contracts", "schedule": 60.0},
    "compare-with-stripe": {"task": "invoicing.compare_with_stripe", "schedule": 3600.0},
    "expire-credits": {"task": "credits.expire_credits", "schedule": 300.0},
    "sell-plans": {"task": "billing.sell_plans", "schedule": 3600.0},
    "recompute-entitlements": {"task": "billing.recompute_due", "schedule": 60.0},
    "purge-idempotency-keys": {"task": "api.purge_idempotency_keys", "schedule": 3600.0},
    "deliver-sandbox-webhooks": {"task": "sandbox.deliver_webhooks", "schedule": 5.0},
    "pass-sandbox-time": {"task": "sandbox.pass_time", "schedule": 60.0},
}

# --- Sign-in ---------------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "tenancy.User"
AUTHENTICATION_BACKENDS = ["allauth.account.auth_backends.AuthenticationBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 10}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"
ACCOUNT_ADAPTER = "tenancy.adapters.AccountAdapter"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*"]
ACCOUNT_SIGNUP_FORM_CLASS = "tenancy.adapters.SignupForm"
ACCOUNT_EMAIL_VERIFICATION = "mandatory"
ACCOUNT_EMAIL_VERIFICATION_BY_CODE_ENABLED = True
ACCOUNT_EMAIL_VERIFICATION_SUPPORTS_RESEND = True
ACCOUNT_PASSWORD_RESET_BY_CODE_ENABLED = True
ACCOUNT_LOGIN_BY_CODE_ENABLED = False
ACCOUNT_CHANGE_EMAIL = True
ACCOUNT_REAUTHENTICATION_TIMEOUT = 300
ACCOUNT_REAUTHENTICATION_REQUIRED = True
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_PREVENT_ENUMERATION = True
ACCOUNT_EMAIL_SUBJECT_PREFIX = ""
ACCOUNT_EMAIL_NOTIFICATIONS = True
ACCOUNT_DEFAULT_HTTP_PROTOCOL = _public.scheme
SOCIALACCOUNT_ADAPTER = "tenancy.sso.oidc.relying_party.SocialAccountAdapter"
MFA_ADAPTER = "tenancy.adapters.MFAAdapter"
MFA_FORMS = {
    "add_webauthn": "tenancy.passkeys.AddForm",
    "authenticate_webauthn": "tenancy.passkeys.SecondFactorForm",
    "login_webauthn": "tenancy.passkeys.SignInForm",
    "reauthenticate_webauthn": "tenancy.passkeys.ConfirmForm",
}
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_PASSKEY_LOGIN_ENABLED = True
MFA_TOTP_ISSUER = "Capsule Memory Cloud"
MFA_WEBAUTHN_ALLOW_INSECURE_ORIGIN = not IS_PRODUCTION  # passkeys on http://localhost
USERSESSIONS_TRACK_ACTIVITY = True
SESSION_COOKIE_AGE = 14 * 24 * 3600
SESSION_COOKIE_NAME = "capsule_session"
CSRF_COOKIE_NAME = "capsule_csrf"
CSRF_FAILURE_VIEW = "capsule_cloud.web.errors.forbidden"

# --- E-mail ----------------------------------------------------------------------------------------------------------
OUTBOX_DIR = env.text("OUTBOX_DIR", "" if IS_PRODUCTION else str(embedded.data_dir() / "outbox"))
DEFAULT_FROM_EMAIL = env.text("DEFAULT_FROM_EMAIL", f"Capsule Memory Cloud <no-reply@{PUBLIC_HOST}>")
if _email_url := env.text("EMAIL_URL", None if IS_PRODUCTION else ""):
    _email = env.address("EMAIL_URL", _email_url, ["smtp", "smtps"])
    EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    EMAIL_HOST, EMAIL_PORT = _email.hostname or "", _email.port or (465 if _email.scheme == "smtps" else 587)
    EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = unquote(_email.username or ""), unquote(_email.password or "")
    EMAIL_USE_TLS, EMAIL_USE_SSL = _email.scheme == "smtp", _email.scheme == "smtps"
    EMAIL_TIMEOUT = 10
else:
    EMAIL_BACKEND = "capsule_cloud.lib.mail.OutboxBackend"

# --- Transport security ----------------------------------------------------------------------------------------------
IS_HTTPS = _public.scheme == "https"
SECURE_SSL_REDIRECT = IS_HTTPS
SECURE_REDIRECT_EXEMPT = [r"^health$"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUSTED_PROXY_COUNT else None
SECURE_HSTS_SECONDS = 63_072_000 if IS_HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = IS_HTTPS
SECURE_HSTS_PRELOAD = IS_HTTPS
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = IS_HTTPS
SESSION_COOKIE_HTTPONLY = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
DATA_UPLOAD_MAX_MEMORY_SIZE = 12 * 2**20  # an import of 10 MiB and its form around it

# --- Static files ----------------------------------------------------------------------------------------------------
STATIC_URL = "/static/"
STATIC_ROOT = env.text("STATIC_ROOT", str(embedded.data_dir() / "static") if not IS_PRODUCTION else "/srv/static")
WHITENOISE_USE_FINDERS = not IS_PRODUCTION
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {
        "BACKEND": (
            "whitenoise.storage.CompressedManifestStaticFilesStorage"
            if IS_PRODUCTION
            else "django.contrib.staticfiles.storage.StaticFilesStorage"
        )
    },
}

# --- Language and time -----------------------------------------------------------------------------------------------
LANGUAGE_CODE = "en"
USE_I18N = False
USE_TZ = True
TIME_ZONE = "UTC"

# --- API -------------------------------------------------------------------------------------------------------------
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["capsule_cloud.api.auth.ApiKeyAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["capsule_cloud.api.auth.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "capsule_cloud.api.errors.exception_handler",
    "UNAUTHENTICATED_USER": None,
    "URL_FORMAT_OVERRIDE": None,  # `?format=` means nothing, but where a view gives it a meaning
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Capsule Memory Cloud API",
    "VERSION": "1.0.0",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "POSTPROCESSING_HOOKS": ["capsule_cloud.api.openapi.add_plain_routes"],
}

# --- Stripe (billing) ------------------------------------------------------------------------------------------------
STRIPE_API_VERSION = "2026-05-27.dahlia"  # pinned: the shape of what we ask for and of the events that come
# Not named STRIPE_SECRET_KEY: dj-stripe would take it from there, and store it in clear.
STRIPE_API_KEY = env.text("STRIPE_SECRET_KEY", "")
STRIPE_IS_LIVE = STRIPE_API_KEY.startswith(("sk_live_", "rk_live_"))
STRIPE_ACCOUNT_ID = env.text("STRIPE_ACCOUNT_ID", "")
# The simulator plays Stripe's part where there is no key: everywhere but in production, unless one asks for it there.
STRIPE_SANDBOX = bool(env.number("STRIPE_SANDBOX", 0 if IS_PRODUCTION or STRIPE_API_KEY else 1))
STRIPE_AUTOMATIC_TAX = bool(env.number("STRIPE_AUTOMATIC_TAX", 0))
STRIPE_WEBHOOK_SECRETS = env.words("STRIPE_WEBHOOK_SECRETS")
DJSTRIPE_FOREIGN_KEY_TO_FIELD = "id"
DJSTRIPE_SUBSCRIBER_MODEL = "tenancy.Organization"

# --- SCIM (directories that provision people) ------------------------------------------------------------------------
SCIM_REQUESTS_PER_MINUTE = env.number("SCIM_REQUESTS_PER_MINUTE", 3_000, least=1)
SCIM_SERVICE_PROVIDER = {
    "SCHEME": _public.scheme,
    "NETLOC": _public.netloc,
    "AUTHENTICATION_SCHEMES": [{"type": "oauthbearertoken", "name": "Bearer token of a directory"}],
    "AUTH_CHECK_MIDDLEWARE": "tenancy.scim.authentication.DirectoryAuthentication",
    "USER_ADAPTER": "tenancy.scim.adapters.UserAdapter",
    "GROUP_ADAPTER": "tenancy.scim.adapters.GroupAdapter",
    "WWW_AUTHENTICATE_HEADER": 'Bearer realm="SCIM"',
}

# --- Requests to customers' addresses --------------------------------------------------------------------------------
EGRESS_PORTS = frozenset(env.numbers("EGRESS_PORTS", "443,8443"))
EGRESS_PROXY = env.text("EGRESS_PROXY", "")
if EGRESS_PROXY:
    env.address("EGRESS_PROXY", EGRESS_PROXY, ["http"])
# A developer's own machine may be asked too, over http: never in production (capsule_cloud/checks.py)
EGRESS_LOOPBACK = bool(env.number("EGRESS_LOOPBACK", 0 if IS_PRODUCTION else 1))

# --- Domain names that customers say are theirs ----------------------------------------------------------------------
DNS_NAMESERVERS = env.hosts("DNS_NAMESERVERS", 53)  # none: the machine's own

# --- Sign-in by customers' identity providers ------------------------------------------------------------------------
SAML_CRYPTO = env.choice("SAML_CRYPTO", "xmlsec", ("xmlsec", "xmlsec1"))  # in this process, or Debian's program

# --- The product's own limits ----------------------------------------------------------------------------------------
# every event is held against its action's schema, for some microseconds: what fits in every test fits in production
AUDIT_CHECKS_VALUES = bool(env.number("AUDIT_CHECKS_VALUES", 0 if IS_PRODUCTION else 1))
USAGE_SPOOL_DIR = env.text("USAGE_SPOOL_DIR", str(embedded.data_dir() / "spool") if not IS_PRODUCTION else None)
# Exports of the audit log are written in the folder, and kept there or in a bucket
_exports = "/var/lib/capsule/exports" if IS_PRODUCTION else str(embedded.data_dir() / "exports")
EXPORTS_DIR = env.text("EXPORTS_DIR", _exports)
if EXPORTS_BUCKET := env.text("EXPORTS_BUCKET", ""):
    env.address("EXPORTS_BUCKET", EXPORTS_BUCKET, ["s3", "gs", "az"])
CLOSED_ORGANIZATION_GRACE_DAYS = env.number("CLOSED_ORGANIZATION_GRACE_DAYS", 30, least=1)

# --- Logs ------------------------------------------------------------------------------------------------------------
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(levelname)s %(name)s %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": env.text("LOG_LEVEL", "INFO")},
    "loggers": {
        "httpx": {"level": "WARNING"},  # says every URL, with what is in its query
        "saml2": {"level": "CRITICAL"},  # says names and whole answers; what is refused is told to its organization
        "stripe": {"level": "WARNING"},
        "djstripe": {"level": "WARNING"},
        "celery.beat": {"level": "WARNING"},
        "capsule_memory": {"level": "ERROR"},  # warns at every seal that no language model is set up
    },
}
