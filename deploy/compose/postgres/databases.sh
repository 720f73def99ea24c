#!/bin/bash
# Run by PostgreSQL's image when its volume is new: each service gets a database, and a role that sees no other.
set -euo pipefail
for service in registry artifact scheduler; do
    # psql reads the password itself, so that it is on no command line.
    psql --set ON_ERROR_STOP=1 --set name="$service" --username "$POSTGRES_USER" --dbname postgres <<SQL
\set password \`cat /run/secrets/postgres_$service\`
CREATE ROLE :"name" LOGIN PASSWORD :'password';
CREATE DATABASE :"name" OWNER :"name" ENCODING 'UTF8' TEMPLATE template0;
REVOKE ALL ON DATABASE :"name" FROM PUBLIC;
SQL
done
