from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("inference", "0010_job_kind")]

    operations = [
        migrations.AddIndex(
            model_name="inferencejob",
            index=models.Index(
                condition=models.Q(("answer__isnull", False), ("kind", "embed")),
                fields=["finished_at"],
                name="job_vectors",
            ),
        ),
    ]
