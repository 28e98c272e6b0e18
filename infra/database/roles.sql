-- The roles of one Capsule Memory Cloud database. Run it in that database, as a superuser, before the first migration;
-- running it again changes nothing.
--
--   capsule_owner    owns every table and runs the migrations; row-level security is FORCEd on it too
--   capsule_app      what web and workers connect as: owns nothing, cannot bypass row-level security
--   capsule_definer  owns the few SECURITY DEFINER functions that look across organizations; nobody logs in as it
--
-- Passwords are set apart: ALTER ROLE capsule_owner PASSWORD '…'; ALTER ROLE capsule_app PASSWORD '…';

DO $$
DECLARE
    role text;
BEGIN
    FOREACH role IN ARRAY ARRAY['capsule_owner', 'capsule_app', 'capsule_definer'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
            EXECUTE format('CREATE ROLE %I', role);
        END IF;
    END LOOP;
END $$;

ALTER ROLE capsule_owner LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOREPLICATION;
ALTER ROLE capsule_app LOGIN NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB NOREPLICATION;
ALTER ROLE capsule_definer NOLOGIN NOSUPERUSER BYPASSRLS NOCREATEROLE NOCREATEDB NOREPLICATION;

-- Lets migrations hand a function over, and replace it later. BYPASSRLS itself is never inherited.
GRANT capsule_definer TO capsule_owner;

DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I OWNER TO capsule_owner', current_database());
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO capsule_app', current_database());
    -- usage is shipped through a temporary table, which a function makes: the application itself may make none
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO capsule_definer', current_database());
END $$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO capsule_app;
GRANT USAGE, CREATE ON SCHEMA public TO capsule_definer; -- a function's owner must be able to create it

ALTER DEFAULT PRIVILEGES FOR ROLE capsule_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO capsule_app, capsule_definer;
ALTER DEFAULT PRIVILEGES FOR ROLE capsule_owner IN SCHEMA public
    GRANT USAGE ON SEQUENCES TO capsule_app, capsule_definer;
-- Everyone may run a new function unless told otherwise: each migration grants its own to capsule_app.
-- (No IN SCHEMA: PostgreSQL only takes back this built-in right globally.)
ALTER DEFAULT PRIVILEGES FOR ROLE capsule_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

-- Extensions need a superuser. One that the server lacks is left out; the migration that uses it says so.
DO $$
DECLARE
    extension text;
BEGIN
    FOR extension IN
        SELECT name FROM pg_available_extensions
        WHERE name IN ('vector', 'btree_gin', 'pg_trgm', 'pg_stat_statements') AND installed_version IS NULL
    LOOP
        EXECUTE format('CREATE EXTENSION %I', extension);
    END LOOP;
END $$;
