"""The web application that all pages share: security, templates, static files, serving."""
