"""HTTP itself: the edge, errors, pages, the OpenAPI document."""
