"""Speeds and poses that leave what is wanted."""
