#!/bin/sh
# Prints the Secrets of a new installation, with fresh random values: ./secrets.sh | kubectl create -f -
# A managed PostgreSQL: DATABASE_HOST, and a file with the password of its user metsweep in DATABASE_PASSWORD_FILE.
set -eu
database=${DATABASE_HOST:-postgres}
if [ -n "${DATABASE_PASSWORD_FILE:-}" ]; then
    password=$(cat "$DATABASE_PASSWORD_FILE")
else
    password=$(openssl rand -hex 24)
fi
case $password in
'' | *[!A-Za-z0-9]*)
    echo "The password in DATABASE_PASSWORD_FILE is empty or has other characters than letters and digits." >&2
    exit 2
    ;;
esac
server=postgresql+psycopg2://metsweep:$password@$database:5432

secret() {
    printf -- '---\napiVersion: v1\nkind: Secret\nmetadata: {name: %s, namespace: metsweep}\nstringData:\n' "$1"
}
secret ray-token
echo "  auth_token: \"$(openssl rand -hex 32)\""
secret postgres
echo "  password: \"$password\""
secret driver
echo "  OPTUNA_STORAGE: $server/optuna
  MLFLOW_TRACKING_USERNAME: metsweep
  MLFLOW_TRACKING_PASSWORD: \"$(openssl rand -hex 24)\""
secret mlflow
echo "  uri: $server/mlflow
  admin-password: \"$(openssl rand -hex 24)\"
  flask-secret-key: \"$(openssl rand -hex 32)\"
  basic_auth.ini: |
    [mlflow]
    default_permission = READ
    admin_username = admin
    # Without it each request hashes the password anew: 25 s for 20 metrics on two busy cores, with it 1.3 s.
    auth_cache_ttl_seconds = 60
    database_uri = $server/mlflow"
