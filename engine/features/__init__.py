"""What a laboratory does with its messages, a folder for each feature. The core names none of them."""
