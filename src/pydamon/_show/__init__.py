"""Results for people and programs: terminal, pictures, live views, web, metrics, notebooks."""
