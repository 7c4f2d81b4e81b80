"""The Locust users, load shapes and scenarios; the only room that imports locust."""
