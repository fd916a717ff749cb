"""What a cohort holds, to look at before anything is trained: figures, views, outliers, and what was left out."""
