#!/bin/sh
# Writes a CycloneDX list (SBOM) of the Python packages of an environment: sbom.sh PYTHON OUT.json
set -eu
test $# -eq 2 || { echo "Usage: sbom.sh PYTHON OUT.json" >&2; exit 2; }
cyclonedx-py environment --output-reproducible --spec-version 1.6 --output-format JSON --output-file "$2" "$1"
