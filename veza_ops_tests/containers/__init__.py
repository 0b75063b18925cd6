"""The image and the compose file, built and run without a container engine: `make image`."""
