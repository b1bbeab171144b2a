"""splatbench: honest, comparable numbers for images made of 2D Gaussians."""
