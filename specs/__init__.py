"""OpenAPI documents, the requirement registry and the profiles: data that the other rooms read."""
