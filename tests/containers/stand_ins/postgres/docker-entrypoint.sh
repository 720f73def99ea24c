#!/bin/bash
# What docker.io/library/postgres does when started as its own user, as far as a compose file relies on it.
set -euo pipefail
secret() { local file="$1_FILE"; if [ -n "${!file:-}" ]; then cat "${!file}"; else printf %s "${!1:-}"; fi; }
if [ "$1" = postgres ] && [ ! -s "$PGDATA/PG_VERSION" ]; then
    user="$(secret POSTGRES_USER)"; user="${user:-postgres}"
    database="$(secret POSTGRES_DB)"; database="${database:-$user}"
    # shellcheck disable=SC2086 -- several arguments in one variable, as in the real one
    initdb --username="$user" --pwfile=<(secret POSTGRES_PASSWORD) --auth-host=scram-sha-256 ${POSTGRES_INITDB_ARGS:-}
    echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
    pg_ctl --wait --options="-c listen_addresses=''" start
    query() { psql -v ON_ERROR_STOP=1 --username "$user" --no-password "$@"; }
    if [ "$database" != postgres ]; then query --dbname postgres -c "CREATE DATABASE \"$database\""; fi
    export POSTGRES_USER="$user" POSTGRES_DB="$database"
    for file in /docker-entrypoint-initdb.d/*; do
        case "$file" in
            *.sh) if [ -x "$file" ]; then "$file"; else . "$file"; fi ;;
            *.sql) query --dbname "$database" -f "$file" ;;
        esac
    done
    pg_ctl --wait -m fast stop
fi
exec "$@"
