"""What happens: one flow a file, built from the steps beside them."""
