#!/bin/sh
# ./secrets.sh COHORT
# Writes the cohort's folder into .env; makes ./secrets with fresh random values, for this user alone, and the folders of
# ./data; keeps secrets and data that exist.
set -eu
if [ $# -ne 1 ] || [ ! -d "$1" ]; then
    echo "Usage: ./secrets.sh COHORT, a folder that exists." >&2
    exit 2
fi
cohort=$(cd "$1" && pwd)
case $cohort in
*\'*)
    echo "The cohort's path has a quote, which .env cannot hold: $cohort" >&2
    exit 2
    ;;
esac
cd "$(dirname "$0")"
if [ "$(id -u)" = 0 ]; then
    echo "PostgreSQL refuses to run as root: run as a user of the group docker." >&2
    exit 2
fi
umask 077
mkdir -p data/postgres data/s3 data/scratch data/tmp
printf "USER_ID=%s\nGROUP_ID=%s\nCOHORT='%s'\n" "$(id -u)" "$(id -g)" "$cohort" >.env
if [ -d secrets ]; then
    echo "The folder secrets exists and stays as it is."
    exit
fi
postgres=$(openssl rand -hex 24)
admin=$(openssl rand -hex 24)
key=$(openssl rand -hex 10)
secret=$(openssl rand -hex 24)
server=postgresql+psycopg2://metsweep:$postgres@postgres:5432

rm -rf secrets.new
mkdir secrets.new
cat >secrets.new/postgres <<END
$postgres
END
cat >secrets.new/s3.json <<END
{"identities": [{"name": "metsweep", "credentials": [{"accessKey": "$key", "secretKey": "$secret"}],
 "actions": ["Admin", "Read", "Write", "List", "Tagging"]}]}
END
cat >secrets.new/s3.env <<END
AWS_ACCESS_KEY_ID=$key
AWS_SECRET_ACCESS_KEY=$secret
AWS_DEFAULT_REGION=us-east-1
AWS_ENDPOINT_URL_S3=http://s3:8333
END
cat >secrets.new/mlflow.env <<END
MLFLOW_BACKEND_STORE_URI=$server/mlflow
MLFLOW_AUTH_ADMIN_PASSWORD=$admin
MLFLOW_FLASK_SERVER_SECRET_KEY=$(openssl rand -hex 32)
END
cat >secrets.new/basic_auth.ini <<END
[mlflow]
default_permission = READ
admin_username = admin
# Without it each request hashes the password anew: 25 s for 20 metrics on two busy cores, with it 1.3 s.
auth_cache_ttl_seconds = 60
database_uri = $server/mlflow
END
cat >secrets.new/driver.env <<END
OPTUNA_STORAGE=$server/optuna
MLFLOW_TRACKING_USERNAME=metsweep
MLFLOW_TRACKING_PASSWORD=$(openssl rand -hex 24)
END
cat >secrets.new/ray.env <<END
RAY_AUTH_TOKEN=$(openssl rand -hex 32)
END
mv secrets.new secrets
