"""The place on Kubernetes: KServe objects, routes, the controller's process."""
