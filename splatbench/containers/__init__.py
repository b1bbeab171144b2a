"""Programs in containers: engines that run an image under limits, the file contract of methods, our own images."""
