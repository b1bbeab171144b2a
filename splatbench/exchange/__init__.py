"""Plain files of named arrays as the door for Gaussians that other code made: read, validated, converted."""
