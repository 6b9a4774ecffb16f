"""Getting an installation ready: third parties, images, secrets, dashboards, doctor."""
