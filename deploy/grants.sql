-- The least that veza-ops needs in Veza's database. Run it there once as the owner of the tracks table, and again when
-- the table gets an updated_at, a deleted_at or a file_size column:
--
--     psql -d veza -f deploy/grants.sql
--     psql -d veza -c '\password veza_ops'
--
-- The role may read the columns that the jobs look at and change the three that they write. It may neither insert nor
-- delete, sees no other column, and owns nothing.
DO $$
DECLARE
    readable text[] := '{id, status, status_message, file_path, created_at, updated_at, deleted_at, file_size}';
    writable text[] := '{status, status_message, updated_at}';
    found text[] := (
        SELECT array_agg(column_name::text) FROM information_schema.columns
        WHERE table_schema = 'public' AND table_name = 'tracks'
    );
BEGIN
    IF found IS NULL THEN
        RAISE EXCEPTION 'There is no table public.tracks in the database %.', current_database();
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'veza_ops') THEN
        CREATE ROLE veza_ops LOGIN;
    END IF;
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO veza_ops', current_database());
    GRANT USAGE ON SCHEMA public TO veza_ops;
    EXECUTE format(
        'GRANT SELECT (%s), UPDATE (%s) ON public.tracks TO veza_ops',
        (SELECT string_agg(name, ', ') FROM unnest(readable) name WHERE name = ANY (found)),
        (SELECT string_agg(name, ', ') FROM unnest(writable) name WHERE name = ANY (found))
    );
END
$$;
