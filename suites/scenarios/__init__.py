"""The scenarios: what is asked of a gateway, by topic. They send nothing and judge nothing."""
