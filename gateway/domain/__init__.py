"""Pure values and rules that every other part shares. Standard library only, no input or output."""
