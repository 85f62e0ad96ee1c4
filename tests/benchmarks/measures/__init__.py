"""What attacks.py measures, one module a part; each adds its options and prints one JSON object a line."""
