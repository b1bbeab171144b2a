"""The published network, its parts and its files; our small one."""
